"""What is kept in queues."""
