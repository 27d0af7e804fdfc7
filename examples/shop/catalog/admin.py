# SPDX-License-Identifier: GPL-3.0-or-later
from django.contrib import admin

from .models import Order, Product


@admin.register(Product)
class ProductAdmin(admin.ModelAdmin):
    list_display = ["name", "price", "image"]
    prepopulated_fields = {"slug": ["name"]}


@admin.register(Order)
class OrderAdmin(admin.ModelAdmin):
    list_display = ["product", "quantity", "name", "email", "created"]
    date_hierarchy = "created"
