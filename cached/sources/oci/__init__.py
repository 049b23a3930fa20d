"""`oci://`: registries of container images."""
