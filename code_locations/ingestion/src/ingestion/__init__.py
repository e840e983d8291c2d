"""Code location `ingestion`: flights, weather and reference tables from their sources into the lake."""
