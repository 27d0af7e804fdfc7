# SPDX-License-Identifier: GPL-3.0-or-later
from django.contrib import admin
from django.urls import include, path
from notes.models import Note
from rest_framework import routers, serializers, viewsets


class NoteSerializer(serializers.ModelSerializer):
    class Meta:
        model = Note
        fields = ("id", "text")


class Notes(viewsets.ModelViewSet):
    queryset = Note.objects.order_by("id")
    serializer_class = NoteSerializer


router = routers.DefaultRouter()
router.register("notes", Notes)
urlpatterns = [path("admin/", admin.site.urls), path("", include(router.urls))]
