"""What a site's channels carry, written out for other languages: AsyncAPI, JSON Schema, TypeScript."""
