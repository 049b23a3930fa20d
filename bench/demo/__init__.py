"""`make demo`: a real S3 server, a daemon, two models; then everything is stopped again."""
