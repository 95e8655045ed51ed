"""The recall service: the application, its door, keys, limits, metrics, pages, channels, and bundles swapped under it.

Public: ``app.create_app``, ``settings.Settings``, ``server.Server``.
"""

from recbole_mind.util.extras import require_modules

require_modules("the service", "fastapi", "uvicorn", "prometheus_client")
