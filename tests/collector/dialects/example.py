"""One span of each dialect, with keys, types, units and placement as its producer writes them, and the row that it gives.

``None`` in the place of the row: the span gives none by itself.
"""

from __future__ import annotations

from tests.collector.dialects.anybody import REST
from tests.collector.dialects.client import CLIENTS
from tests.collector.dialects.engine import ENGINES
from tests.collector.dialects.gateway import GATEWAYS
from tests.collector.dialects.keys import Example
from tests.collector.dialects.proxy import PROXIES

EXAMPLES: dict[str, Example] = {**ENGINES, **GATEWAYS, **PROXIES, **CLIENTS, **REST}
