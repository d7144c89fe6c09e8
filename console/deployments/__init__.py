"""Pages of deployments: one module per page holds its view and its page data, which live fragments render too."""
