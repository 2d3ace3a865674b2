"""An event relay, which sends the functions host an event for each blob in Azurite."""
