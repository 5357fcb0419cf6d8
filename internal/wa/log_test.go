package wa

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	waBinary "go.mau.fi/whatsmeow/binary"
)

func TestNothingOfAStanzaIsLogged(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log := whatsmeowLog{log: slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	node := &waBinary.Node{Tag: "message", Attrs: waBinary.Attrs{"notify": "secret"}, Content: []byte("secret")}
	log.Debugf("received %s", node)
	log.Sub("Recv").Warnf("handling %s took %d ms, %v", node, 7, []byte("secret"))
	log.Errorf("unknown %s", *node)
	log.Infof("connected %s", "again")
	got := out.String()
	if strings.Contains(got, "secret") || strings.Contains(got, "received") {
		t.Errorf("logged: %s", got)
	}
	for _, want := range []string{"handling <message> took 7 ms, 6 bytes", "module=Recv", "unknown <message>", "connected again"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in: %s", want, got)
		}
	}
}
