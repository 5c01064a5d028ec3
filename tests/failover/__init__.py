"""What becomes of Souk where its servers have three members each."""
