package httpapi

import (
	"github.com/labstack/echo/v4"

	"github.com/wapro/hub/internal/httpapi/spec"
)

// ListWorkers answers with the workers that live and their load.
func (s *Server) ListWorkers(c echo.Context) error {
	workers, err := s.store.Workers(c.Request().Context())
	if err != nil {
		return wrap(err, "list the workers")
	}
	list := spec.WorkerList{Data: make([]spec.Worker, len(workers))}
	for i, w := range workers {
		list.Data[i] = spec.Worker{
			Id: w.ID, Host: w.Host, Pid: w.PID, StartedAt: w.StartedAt.UTC(), SeenAt: w.SeenAt.UTC(),
			Sessions: w.Sessions, Online: w.Online, Waiting: w.Waiting,
		}
	}
	return sendJSON(c, list)
}
