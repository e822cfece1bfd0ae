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
    """Each save and delete here is seen on the board's page at once; no code here does that."""

    list_display = ["title", "board", "status", "position", "updated_at"]
    list_editable = ["status"]
    list_filter = ["board", "status"]
    search_fields = ["title", "notes"]
