"""What the integration tests stand on: servers, databases, providers, clients."""
