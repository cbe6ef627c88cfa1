"""Where trust bundles come from: files, https endpoints, the Workload API; and the one place that holds the current ones."""

from __future__ import annotations

from pdp.store.trust.endpoint import EndpointSource, SpiffeServer, WebServer
from pdp.store.trust.files import FileSource
from pdp.store.trust.holder import Refreshed, Source, Trust, refresh

__all__ = ["EndpointSource", "FileSource", "Refreshed", "Source", "SpiffeServer", "Trust", "WebServer", "refresh"]
