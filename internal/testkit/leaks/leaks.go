// Package leaks lets a package's tests fail when goroutines are left behind. It imports nothing of the hub.
package leaks

import (
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// patience is how long what has been told to end may take to do so: goleak itself waits for about a second, in which a busy machine may not
// come to the end of a closed connection's reader.
const patience = time.Minute

// Main runs the tests and ends the process; what they left running fails them.
func Main(m *testing.M) {
	code := m.Run()
	if code == 0 {
		err := find()
		for end := time.Now().Add(patience); err != nil && time.Now().Before(end); {
			err = find()
		}
		if err != nil {
			fmt.Fprintf(os.Stderr, "goroutines are left %s after the tests: %v\n", patience, err)
			code = 1
		}
	}
	os.Exit(code)
}

// find passes over the goroutines that rest between what they run: they are kept for that.
func find() error {
	return goleak.Find(goleak.IgnoreTopFunction("github.com/wapro/hub/internal/loop.(*hands).work"))
}
