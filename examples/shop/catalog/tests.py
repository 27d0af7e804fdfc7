# SPDX-License-Identifier: GPL-3.0-or-later
from django.test import TestCase

from .models import Order, Product


class ShopTests(TestCase):
    def test_home_lists_the_products(self):
        response = self.client.get("/")
        for product in Product.objects.all():
            self.assertContains(response, product.name)

    def test_an_order_is_put_in(self):
        product = Product.objects.get(slug="desk-lamp")
        form = {"quantity": 2, "name": "Ada", "email": "ada@example.com"}
        response = self.client.post(product.get_absolute_url(), form, follow=True)
        self.assertContains(response, "Thank you")
        self.assertEqual(Order.objects.get().total, 2 * product.price)

    def test_a_wrong_order_is_shown_again(self):
        response = self.client.post("/products/desk-lamp/", {"quantity": 0, "name": "Ada", "email": "ada"})
        self.assertContains(response, "Enter a valid email address.")
        self.assertFalse(Order.objects.exists())
