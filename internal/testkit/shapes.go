package testkit

import (
	"path/filepath"
	"testing"

	"github.com/wapro/hub/internal/testkit/services"
)

// Shape is a way to run the hub. The same tests pass in every one.
type Shape struct {
	Name    string
	apis    int
	workers int // 0: embedded, the worker runs inside the API
	// simulatorProcess: the simulator runs as a program of its own.
	simulatorProcess bool
	environ          func(t testing.TB, dir string) []string
}

// Embedded is the hub in one process.
func Embedded() Shape {
	return Shape{Name: "embedded", apis: 1, environ: func(_ testing.TB, dir string) []string {
		return []string{"DATABASE_URL=" + sqliteIn(dir)}
	}}
}

// Cluster is two APIs and two workers on Postgres and Redis, with the simulator as a program of its own.
func Cluster() Shape {
	return Shape{Name: "postgres and redis", apis: 2, workers: 2, simulatorProcess: true, environ: func(t testing.TB, _ string) []string {
		return []string{"DATABASE_URL=" + services.Postgres(t), "REDIS_URL=" + services.Redis(t), "MASTER_KEY=" + MasterKey}
	}}
}

// Shapes lists every shape.
func Shapes() []Shape {
	return []Shape{
		Embedded(),
		{Name: "sqlite and redis", apis: 1, workers: 1, environ: func(t testing.TB, dir string) []string {
			return []string{"DATABASE_URL=" + sqliteIn(dir), "REDIS_URL=" + services.Redis(t)}
		}},
		Cluster(),
	}
}

func sqliteIn(dir string) string { return "sqlite://" + filepath.Join(dir, "hub.db") }

// EachShape runs a test in every shape, in parallel.
func EachShape(t *testing.T, run func(t *testing.T, shape Shape)) {
	t.Helper()
	t.Parallel()
	for _, shape := range Shapes() {
		t.Run(shape.Name, func(t *testing.T) {
			t.Parallel()
			run(t, shape)
		})
	}
}
