package httpapi_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/labstack/echo/v4"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/httpapi"
	"github.com/wapro/hub/internal/httpapi/spec"
)

func TestRouterAndDescriptionHaveTheSameRoutes(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	var doc struct {
		Paths map[string]map[string]json.RawMessage
	}
	must(t, json.Unmarshal(spec.JSON(), &doc))
	described := map[string]bool{}
	param := regexp.MustCompile(`\{(\w+)\}`)
	for path, methods := range doc.Paths {
		for method := range methods {
			if method != "parameters" {
				described[strings.ToUpper(method)+" "+param.ReplaceAllString(path, ":$1")] = true
			}
		}
	}
	routed := map[string]bool{}
	for _, route := range h.server.Handler().(*echo.Echo).Routes() {
		routed[route.Method+" "+route.Path] = true
	}
	for route := range described {
		if !routed[route] {
			t.Errorf("described, not routed: %s", route)
		}
	}
	for route := range routed {
		if !described[route] {
			t.Errorf("routed, not described: %s", route)
		}
	}
	if len(described) < 40 {
		t.Errorf("only %d routes are described", len(described))
	}
}

func TestEveryRouteNeedsAKeyUnlessItSaysOtherwise(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	open := []string{"GET /", "GET /openapi.json", "GET /livez", "GET /readyz"}
	for _, route := range h.server.Handler().(*echo.Echo).Routes() {
		if slices.Contains(open, route.Method+" "+route.Path) {
			continue
		}
		path := regexp.MustCompile(`:\w+`).ReplaceAllString(route.Path, "algo")
		h.do(request{method: route.Method, path: path, key: "none"}).refused(http.StatusUnauthorized, gateway.CodeUnauthorized, "")
		h.do(request{method: route.Method, path: path, key: "wah_guess"}).refused(http.StatusUnauthorized, gateway.CodeUnauthorized, "")
		if strings.HasPrefix(route.Path, "/admin") || strings.HasPrefix(route.Path, "/sandbox") {
			h.do(request{method: route.Method, path: path}).refused(http.StatusForbidden, gateway.CodeForbidden, "")
		}
	}
}

// TestWhatIsNotBuiltAnswersNotImplemented, and the README says which routes that are.
func TestWhatIsNotBuiltAnswersNotImplemented(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	raw, err := os.ReadFile("../../README.md")
	must(t, err)
	_, named, found := strings.Cut(string(raw), "answers 501 `not_implemented`:")
	if named, _, _ = strings.Cut(named, "\n\n"); !found {
		t.Error("the README does not say what answers 501")
	}
	for _, route := range plannedRoutes(t) {
		method, path, _ := strings.Cut(route, " ")
		h.do(request{method: method, path: path, key: h.adminKey}).refused(http.StatusNotImplemented, gateway.CodeNotImplemented, "")
		if part, _, _ := strings.Cut(strings.TrimPrefix(path, "/api/algo"), "/x"); !strings.Contains(named, part) {
			t.Errorf("%s answers 501, of which the README names only%s", route, named)
		}
	}
	if n := h.count(h.algo.Key); n != 0 {
		t.Errorf("%d messages were accepted", n)
	}
}

// plannedRoutes are those that the description says are not built yet.
func plannedRoutes(t *testing.T) (routes []string) {
	t.Helper()
	var doc struct {
		Paths map[string]map[string]json.RawMessage
	}
	must(t, json.Unmarshal(spec.JSON(), &doc))
	parameter := regexp.MustCompile(`\{\w+\}`)
	for path, methods := range doc.Paths {
		for method, raw := range methods {
			var operation struct {
				Planned bool `json:"x-not-implemented"`
			}
			if method == "parameters" {
				continue
			}
			must(t, json.Unmarshal(raw, &operation))
			if operation.Planned {
				path := parameter.ReplaceAllString(strings.Replace(path, "{tenantId}", "algo", 1), "x")
				routes = append(routes, strings.ToUpper(method)+" "+path)
			}
		}
	}
	return routes
}

func TestMetaRoutes(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	h.do(request{path: "/", key: "none"}).want(http.StatusOK)
	h.do(request{path: "/livez", key: "none"}).want(http.StatusOK)
	h.do(request{path: "/readyz", key: "none"}).want(http.StatusOK)
	if got := h.do(request{path: "/openapi.json", key: "none"}).want(http.StatusOK); string(got.body) != string(spec.JSON()) {
		t.Error("/openapi.json is not the description")
	}
	h.do(request{path: "/nowhere", key: "none"}).refused(http.StatusNotFound, gateway.CodeNotFound, "")
	h.do(request{method: http.MethodPut, path: "/api/algo/message"}).refused(http.StatusMethodNotAllowed, gateway.CodeMethodNotAllowed, "")
	got := h.do(request{path: "/", key: "none", header: map[string]string{"X-Request-Id": "from-the-proxy"}})
	if got.header.Get("X-Request-Id") != "from-the-proxy" || got.header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("headers %v", got.header)
	}
	got = h.do(request{path: "/", key: "none", header: map[string]string{"X-Request-Id": `forged" level=ERROR`}})
	if strings.Contains(got.header.Get("X-Request-Id"), "forged") {
		t.Errorf("kept the request id %q", got.header.Get("X-Request-Id"))
	}
	h.fault.set(func(f *faulty) { f.ping = errors.New("disk gone") })
	if got := h.do(request{path: "/readyz", key: "none"}).refused(http.StatusServiceUnavailable, gateway.CodeUnavailable, ""); got.header.Get("Retry-After") == "" {
		t.Error("503 without Retry-After")
	}
}

func TestPanicAnswersInternalAndIsLogged(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	h.fault.set(func(f *faulty) { f.panics = true })
	// /readyz does not describe 500: a panic is not part of the contract, its answer is.
	resp, err := h.client.Get(h.base + "/readyz")
	must(t, err)
	defer resp.Body.Close()
	var p problem
	must(t, json.NewDecoder(resp.Body).Decode(&p))
	if resp.StatusCode != http.StatusInternalServerError || p.Code != gateway.CodeInternal || strings.Contains(p.Detail, "broke on the") {
		t.Errorf("status %d, problem %+v", resp.StatusCode, p)
	}
	if log := h.log.String(); !strings.Contains(log, "the store broke") || !strings.Contains(log, p.RequestID) {
		t.Errorf("the log does not tell: %s", log)
	}
}

// Every code of the domain is catalogued in docs/errors.md, and nothing else.
func TestErrorCatalogueListsExactlyTheCodes(t *testing.T) {
	t.Parallel()
	file, err := parser.ParseFile(token.NewFileSet(), "../gateway/error.go", nil, 0)
	must(t, err)
	var codes []string
	ast.Inspect(file, func(n ast.Node) bool {
		v, ok := n.(*ast.ValueSpec)
		if !ok || len(v.Names) == 0 || !strings.HasPrefix(v.Names[0].Name, "Code") {
			return true
		}
		for _, value := range v.Values {
			codes = append(codes, strings.Trim(value.(*ast.BasicLit).Value, `"`))
		}
		return true
	})
	doc, err := os.ReadFile("../../docs/errors.md")
	must(t, err)
	var catalogued []string
	for _, m := range regexp.MustCompile("(?m)^### ([a-z0-9_]+)$").FindAllStringSubmatch(string(doc), -1) {
		catalogued = append(catalogued, m[1])
	}
	for _, code := range codes {
		_, text, _ := strings.Cut(string(doc), "\n### "+code+"\n\n")
		entry, _, _ := strings.Cut(text, "\n### ")
		status, answers := httpapi.StatusOf(gateway.Code(code))
		if want := fmt.Sprintf("HTTP %d", status); answers != strings.HasPrefix(entry, want) || !answers && !strings.HasPrefix(entry, "Message. ") {
			t.Errorf("%s answers %d; docs/errors.md says %.12q", code, status, entry)
		}
		if !strings.Contains(entry, "\nRemedy: ") {
			t.Errorf("%s has no remedy", code)
		}
	}
	slices.Sort(codes)
	slices.Sort(catalogued)
	if len(codes) < 40 || !slices.Equal(codes, catalogued) {
		t.Errorf("codes of the domain:\n%s\ndocs/errors.md:\n%s", strings.Join(codes, " "), strings.Join(catalogued, " "))
	}
}

// The drawing in docs/message-status.md shows every status, and no move that the domain forbids.
func TestStatusDrawingIsWhatTheDomainAllows(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("../../docs/message-status.md")
	must(t, err)
	drawn := map[gateway.Status]bool{}
	for _, m := range regexp.MustCompile(`(?m)^    (\w+) --> (\w+):`).FindAllStringSubmatch(string(doc), -1) {
		from, to := gateway.Status(m[1]), gateway.Status(m[2])
		if !from.CanMove(to) {
			t.Errorf("%s --> %s is drawn and forbidden", from, to)
		}
		drawn[from], drawn[to] = true, true
	}
	for _, status := range gateway.Statuses() {
		if !drawn[status] {
			t.Errorf("%s is not drawn", status)
		}
	}
}
