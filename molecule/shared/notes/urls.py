# SPDX-License-Identifier: GPL-3.0-or-later
from django.contrib import admin
from django.urls import path

from . import views

urlpatterns = [
    path("", views.front),
    path("add", views.add),
    path("upload", views.upload),
    path("slow", views.slow),
    path("inside", views.inside),
    path("admin/", admin.site.urls),
]
