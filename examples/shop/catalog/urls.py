# SPDX-License-Identifier: GPL-3.0-or-later
from django.urls import path

from . import views

urlpatterns = [
    path("", views.home, name="home"),
    path("products/<slug:slug>/", views.product, name="product"),
    path("thanks/", views.thanks, name="thanks"),
]
