# SPDX-License-Identifier: GPL-3.0-or-later
from django import forms

from .models import Order


class OrderForm(forms.ModelForm):
    class Meta:
        model = Order
        fields = ["quantity", "name", "email"]
