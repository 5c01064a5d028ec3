// Draws the OpenAPI document with Swagger UI. Calls that are tried carry the visitor's own session.
const place = document.querySelector("[data-document]");

window.SwaggerUIBundle({
  url: place.dataset.document,
  domNode: place,
  deepLinking: true,
  docExpansion: "list",
  defaultModelsExpandDepth: -1,
  validatorUrl: null, // It would send the document to another server.
});
