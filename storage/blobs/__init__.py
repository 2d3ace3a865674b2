"""What is kept in blobs."""
