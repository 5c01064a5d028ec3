"""The documents of the whole API, OpenAPI and AsyncAPI: written from the code, and compared with the last release's."""
