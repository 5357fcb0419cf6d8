package app

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
)

// TestTheLogNamesTenantsInOneWay: by their ids, also where only their keys are known, and each is looked up once.
func TestTheLogNamesTenantsInOneWay(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	asked := 0
	names := &tenantNames{lookup: func(_ context.Context, key int64) (string, error) {
		asked++
		if key == 3 {
			return "", errors.New("the database is away")
		}
		return "beta", nil
	}}
	names.learn(1, "algo")
	log := slog.New(tenantLog{slog.NewJSONHandler(&out, nil), names})
	for _, c := range []struct {
		log  *slog.Logger
		args []any
		want string
	}{
		{log, []any{"tenant", "algo", "n", 1}, `"tenant":"algo","n":1}`},
		{log, []any{"a", "b", "tenantKey", int64(1), "n", 1}, `"a":"b","tenant":"algo","n":1}`},
		{log, []any{"tenantKey", int64(2)}, `"tenant":"beta"}`},
		{log.With("tenantKey", int64(2)), []any{"n", 1}, `"tenant":"beta","n":1}`},
		{log.WithGroup("g"), []any{"tenantKey", int64(1)}, `"g":{"tenant":"algo"}}`},
		{log, []any{"tenantKey", int64(3)}, `"tenant":"#3"}`},
		{log, []any{"n", 1}, `"msg":"line","n":1}`},
	} {
		out.Reset()
		c.log.Info("line", c.args...)
		if got := strings.TrimSpace(out.String()); !strings.HasSuffix(got, c.want) {
			t.Errorf("%v is logged as %s", c.args, got)
		}
	}
	if asked != 2 {
		t.Errorf("looked up %d times", asked)
	}
}
