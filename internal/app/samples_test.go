package app_test

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wapro/hub/internal/testkit"
	"github.com/wapro/hub/internal/testkit/services"
)

// apiDocumentation is the text that customers copied their code from; it must stay true to the letter.
//
//go:embed testdata/api-documentation.txt
var apiDocumentation string

// sample cuts the n-th (from 0) piece of the documentation that begins with the line start, up to the line before end.
func sample(t *testing.T, start string, n int, end string) string {
	t.Helper()
	rest := apiDocumentation
	for range n + 1 {
		_, after, ok := strings.Cut(rest, start)
		if !ok {
			t.Fatalf("the documentation has no sample %d that begins with %q", n, start)
		}
		rest = after
	}
	if end != "" {
		var ok bool
		if rest, _, ok = strings.Cut(rest, end); !ok {
			t.Fatalf("no %q behind sample %q", end, start)
		}
	}
	return start + rest
}

// findPython prints the interpreter that has the requests module: Debian's package installs it for its own.
const findPython = "for p in python3 /usr/bin/python3; do $p -c 'import requests' 2>/dev/null && echo $p && exit 0; done; exit 1"

// TestDocumentedSamplesWorkUnchanged runs every sample of the original documentation as it stands, but for the token,
// the port, the file contents and what the page elides, against the built program.
func TestDocumentedSamplesWorkUnchanged(t *testing.T) {
	t.Parallel()
	axios := services.NodeModules(t, "axios@1")
	services.Tool(t, []string{"sh", "-c", findPython}, "python3", "python3-requests")
	found, err := exec.CommandContext(t.Context(), "sh", "-c", findPython).Output()
	if err != nil {
		t.Fatal(err)
	}
	python := strings.TrimSpace(string(found))
	services.Tool(t, []string{"php", "-r", "exit(extension_loaded('curl') ? 0 : 1);"}, "php-cli", "php-curl")

	dir := t.TempDir()
	hub := testkit.Run(t, nil, "SANDBOX=true", "DATABASE_URL=sqlite://"+filepath.Join(dir, "hub.db"),
		"BLOB_URL=file://"+filepath.Join(dir, "media"), "ADMIN_API_KEY=admin-key-of-the-test", "BOOTSTRAP_TENANT=algo", "BOOTSTRAP_API_KEY=algo-key-of-the-test")
	hub.Printed("admin key")
	addr := hub.Listening("requests")
	admin := testkit.NewClient("admin-key-of-the-test", "http://"+addr)
	replace := strings.NewReplacer("localhost:3001", addr, "YOUR_TOKEN", "algo-key-of-the-test").Replace

	pdf := []byte("%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n")
	jpeg := testkit.JPEG(t)
	work := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(work, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("file.pdf", string(pdf))
	write("file.jpg", string(jpeg))
	run := func(name string, args ...string) {
		t.Helper()
		cmd := exec.Command(name, args...)
		cmd.Dir, cmd.Env = work, append(os.Environ(), "NODE_PATH="+filepath.Join(axios, "node_modules"))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
		} else if bytes.Contains(out, []byte("problem")) {
			t.Fatalf("%s %s was refused: %s", name, strings.Join(args, " "), out)
		}
	}
	const call = "\n%s().catch((e) => { console.error(e.message, e.response && e.response.data); process.exit(1); });\n"

	// Text. The Node samples define a function and leave calling it to the reader.
	run("node", write("text.js", replace(sample(t, "const axios", 0, "import requests"))+fmt.Sprintf(call, "sendMessage")))
	run(python, write("text.py", replace(sample(t, "import requests", 0, "<?php"))))
	phpText := replace(sample(t, "<?php", 0, "POST /api"))
	run("php", write("text.php", phpText))

	// Media. The Python sample takes url from the sample before it; the PHP sample elides the cURL call, which is the
	// one of the text sample with the other address.
	run("node", write("media.js", strings.Replace(replace(sample(t, "const axios", 1, "import requests")),
		"BASE64_STRING_HERE", base64.StdEncoding.EncodeToString(pdf), 1)+fmt.Sprintf(call, "sendMedia")))
	run(python, write("media.py", fmt.Sprintf("url = %q\n", admin.Base()+"/api/algo/media")+
		replace(sample(t, "import requests", 1, "<?php"))))
	_, curl, _ := strings.Cut(phpText, "<?php")
	curl = strings.Replace(curl, "/message", "/media", 1)
	start, end := strings.Index(curl, "json_encode("), strings.Index(curl, "]),\n")
	if start < 0 || end < start {
		t.Fatal("the PHP text sample does not look as expected")
	}
	run("php", write("media.php", replace(sample(t, "<?php", 1, "// ..."))+curl[:start]+"json_encode($payload"+curl[end+1:]))

	want := map[string]testkit.Shown{
		"Hello from Node.js!":      {Type: "text"},
		"Hello from Python!":       {Type: "text"},
		"Hello from PHP!":          {Type: "text"},
		"Check out this document!": media("document", "invoice.pdf", "application/pdf", pdf),
		"Here is the file":         media("document", "document.pdf", "application/pdf", pdf),
		"Image from PHP":           media("image", "", "image/jpeg", jpeg),
	}
	var shown []testkit.Shown
	testkit.Eventually(t, 3*time.Minute, func() (bool, string) {
		shown = admin.Phone(t, "919876543210")
		return len(shown) == len(want), fmt.Sprintf("the phone shows %d of %d messages: %+v", len(shown), len(want), shown)
	})
	for _, s := range shown {
		w, ok := want[s.Text+s.Caption]
		if !ok {
			t.Errorf("the phone shows what nobody sent: %+v", s)
			continue
		}
		delete(want, s.Text+s.Caption)
		if s.Type != w.Type || s.Filename != w.Filename || s.MimeType != w.MimeType || s.SHA256 != w.SHA256 || s.Size != w.Size {
			t.Errorf("got %+v\nwant %+v", s, w)
		}
	}
	for text := range want {
		t.Errorf("the phone does not show %q", text)
	}

	var list struct {
		Data []testkit.Message `json:"data"`
	}
	admin.JSON(t, http.MethodGet, "/api/algo/messages", nil, http.StatusOK, &list)
	if len(list.Data) != 6 {
		t.Fatalf("the hub knows %d messages, want 6", len(list.Data))
	}
	for _, m := range list.Data {
		events := admin.Events(t, "algo", admin.AwaitStatus(t, "algo", m.ID, "read").ID)
		// A receipt may be quicker than the record of the acknowledgement, and proves more: then sent is passed over.
		if way := strings.Replace(strings.Join(events, " "), " sent", "", 1); way != "queued sending delivered read" {
			t.Errorf("message %s went %v", m.ID, events)
		}
	}
}

func media(kind, filename, mimetype string, content []byte) testkit.Shown {
	sum := sha256.Sum256(content)
	return testkit.Shown{Type: kind, Filename: filename, MimeType: mimetype, SHA256: hex.EncodeToString(sum[:]), Size: int64(len(content))}
}
