# SPDX-License-Identifier: GPL-3.0-or-later
"""A page whose style sheet django-compressor makes."""

from django.urls import path
from django.views.generic import TemplateView

urlpatterns = [path("", TemplateView.as_view(template_name="front.html"))]
