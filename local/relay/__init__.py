"""An event relay: tells the functions host of blobs that Azurite stored."""
