"""Google's video models: Veo on Vertex AI, Gemini Omni, and the older Gemini contract."""
