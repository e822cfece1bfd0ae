from django.urls import path

from . import views

urlpatterns = [
    path("", views.first_board, name="boards"),
    path("<int:board_id>/", views.board_detail, name="board"),
    path("<int:board_id>/cards/", views.add_card, name="add_card"),
]
