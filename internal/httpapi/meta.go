package httpapi

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/httpapi/spec"
)

// GetIndex says what this is.
func (s *Server) GetIndex(c echo.Context) error {
	return sendJSON(c, spec.Index{Name: "WA Pro Hub", Version: s.opts.Version, Description: "/openapi.json", Documentation: "/docs"})
}

// GetDescription answers with the API's description.
func (s *Server) GetDescription(c echo.Context) error {
	return send(c, &answer{IdempotencyAnswer: gateway.IdempotencyAnswer{
		Status: http.StatusOK, Header: map[string]string{"Content-Type": mimeJSON}, Body: spec.JSON(),
	}})
}

// GetLiveness answers while the process can.
func (s *Server) GetLiveness(c echo.Context) error { return sendJSON(c, spec.Health{Status: spec.Ok}) }

// GetReadiness answers whether messages can be accepted. Redis and sessions are not asked: without them messages wait.
func (s *Server) GetReadiness(c echo.Context) error {
	if err := s.store.Ping(c.Request().Context()); err != nil {
		return &gateway.Error{Code: gateway.CodeUnavailable, Message: "the database does not answer", Err: err}
	}
	return sendJSON(c, spec.Health{Status: spec.Ok})
}
