"""What a gateway says in place of a service that does not answer. On a cluster it is served by pods of its own."""
