"""Settings of a verb: from this shell, or from an app in Azure."""

import argparse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from bootstrap import open_clients
from config.settings import environment, read_storage
from imagefeed.errors import PermanentError
from ops.health.doctor.azure_cli import App, AzureCli, app_settings, find_app, find_azure_cli
from storage.clients import Clients


def app_in_azure(options: argparse.Namespace) -> tuple[AzureCli, App] | None:
    """Return Azure CLI and the app that `--app` and `--resource-group` name; None without these options.

    Raises PermanentError if Azure CLI or the app cannot be found.
    """
    if options.app is None and options.resource_group is None:
        return None
    cli = find_azure_cli()
    if cli is None:
        raise PermanentError(f"{options.verb} --app: Azure CLI (az) is not on PATH; install it, then `az login`")
    return cli, find_app(cli, options.app, options.resource_group)


@contextmanager
def opened(options: argparse.Namespace) -> Iterator[tuple[Clients, Mapping[str, str]]]:
    """Open storage by the settings; yield its clients and the settings as text. Raises PermanentError."""
    texts: Mapping[str, str] = environment()
    if found := app_in_azure(options):
        # These verbs use no server passwords, so they must not require the right to read them.
        texts, unread = app_settings(*found, secrets="DATA_STORAGE")
        if unread:
            raise PermanentError(f"{options.verb} --app {found[1].name}: {unread[0].message}")
    clients = open_clients(read_storage(texts), patient=False)
    try:
        yield clients, texts
    finally:
        clients.close()
