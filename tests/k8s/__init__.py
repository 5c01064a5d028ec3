"""What the manifests promise, checked on the output of kustomize."""
