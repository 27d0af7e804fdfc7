# SPDX-License-Identifier: GPL-3.0-or-later
from django.shortcuts import get_object_or_404, redirect, render

from .forms import OrderForm
from .models import Product


def home(request):
    return render(request, "catalog/home.html", {"products": Product.objects.all()})


def product(request, slug):
    """A product's page; its form puts an order in."""
    shown = get_object_or_404(Product, slug=slug)
    form = OrderForm(request.POST or None)
    if form.is_valid():
        order = form.save(commit=False)
        order.product = shown
        order.save()
        request.session["order"] = order.pk
        return redirect("thanks")
    return render(request, "catalog/product.html", {"product": shown, "form": form})


def thanks(request):
    return render(request, "catalog/thanks.html", {"number": request.session.get("order")})
