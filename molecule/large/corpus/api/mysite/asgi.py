# SPDX-License-Identifier: GPL-3.0-or-later
import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")
pages = get_asgi_application()

from channels.generic.websocket import AsyncWebsocketConsumer  # noqa: E402  (Django has to be set up)
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.urls import path  # noqa: E402


class Notes(AsyncWebsocketConsumer):
    groups = ("notes",)

    async def note_written(self, event):
        await self.send(text_data=event["text"])


application = ProtocolTypeRouter({"http": pages, "websocket": URLRouter([path("written", Notes.as_asgi())])})
