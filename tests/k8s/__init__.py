"""What is promised of the manifests, checked on what kustomize makes of them."""
