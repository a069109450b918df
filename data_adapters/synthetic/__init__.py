"""Inside of the phantoms: shapes, painter, anatomy, lesions, scanner and projector."""
