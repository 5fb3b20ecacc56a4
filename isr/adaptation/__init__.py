"""Networks that go on learning from the one picture that they shall enlarge."""
