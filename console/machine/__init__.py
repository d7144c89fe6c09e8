"""The whole product on one machine: what `manage.py up` starts, watches over and ends. No page, no request."""
