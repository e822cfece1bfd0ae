from django.contrib import admin

from .models import Board, Card


class CardInline(admin.TabularInline):
    model = Card
    extra = 0
    fields = ["title", "notes", "status", "position"]


@admin.register(Board)
class BoardAdmin(admin.ModelAdmin):
    list_display = ["name"]
    inlines = [CardInline]


@admin.register(Card)
class CardAdmin(admin.ModelAdmin):
    """Saves and deletes here appear on the board's page at once, by the signals of the model."""

    list_display = ["title", "board", "status", "position", "updated_at"]
    list_editable = ["status"]
    list_filter = ["board", "status"]
    search_fields = ["title", "notes"]
