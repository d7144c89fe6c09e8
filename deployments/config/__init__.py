"""The configuration of a deployment: what it declares, and the four pure steps that every body passes.

    normalize   JSON → JSON: fill in omitted discriminators; merge a patch into the configuration in force
    validate    JSON → Configuration, or errors by field
    resolve     fill in what was left open from the environment
    check       everything that depends on rows, settings or the caller's role

`build_spec.parse` runs them in this order for the form, POST, PATCH, clone and compatibility APIs. Settings are
declared in `configuration` and in the engines' modules; forms, schemas, diffs and documents are derived from them.
"""
