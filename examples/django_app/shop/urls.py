"""Where the shop's pages are."""

from django.urls import path

from shop import views

urlpatterns = [
    path("", views.shop),
    path("videos", views.order),
    path("videos/<str:job>", views.show, name="show"),
    path("webhook", views.hear),
]
