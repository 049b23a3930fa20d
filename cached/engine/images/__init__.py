"""Container images: tags, who may read, blobs on their way, images made complete."""
