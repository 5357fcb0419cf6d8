package httpapi_test

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

// described is a route of /openapi.json.
type described struct {
	method, path string
	scope        string // of tenants' routes
	admin        bool   // needs the admin key
	open         bool   // needs none
	body         string // the description's first example
	contentType  string
}

// describedRoutes reads them from the hub, as anybody may.
func describedRoutes(h *hub) []described {
	h.t.Helper()
	type example struct{ Value json.RawMessage }
	type media struct {
		Schema   json.RawMessage
		Example  json.RawMessage
		Examples map[string]example
	}
	var doc struct {
		Paths      map[string]map[string]json.RawMessage
		Components struct {
			Schemas map[string]struct{ Example json.RawMessage }
		}
	}
	must(h.t, json.Unmarshal(h.do(request{path: "/openapi.json", key: "none"}).want(http.StatusOK).body, &doc))
	var routes []described
	for path, methods := range doc.Paths {
		for method, raw := range methods {
			if method == "parameters" {
				continue
			}
			var o struct {
				Security    *[]json.RawMessage
				Scope       string `json:"x-scope"`
				RequestBody struct{ Content map[string]media }
			}
			must(h.t, json.Unmarshal(raw, &o))
			r := described{method: strings.ToUpper(method), path: path, scope: o.Scope, open: o.Security != nil && len(*o.Security) == 0}
			r.admin = !r.open && !strings.HasPrefix(path, "/api/{tenantId}/")
			if content, ok := o.RequestBody.Content["application/json"]; ok {
				r.contentType, r.body = "application/json", string(content.Example)
				for _, e := range content.Examples {
					r.body = string(e.Value)
				}
				var ref struct {
					Ref string `json:"$ref"`
				}
				_ = json.Unmarshal(content.Schema, &ref)
				if r.body == "" {
					r.body = string(doc.Components.Schemas[strings.TrimPrefix(ref.Ref, "#/components/schemas/")].Example)
				}
			}
			routes = append(routes, r)
		}
	}
	slices.SortFunc(routes, func(a, b described) int { return strings.Compare(a.path+a.method, b.path+b.method) })
	return routes
}

// TestEveryRouteRefusesEveryoneWhomItIsNotFor asks every route of the description, with its own example as the body and the ids of things
// that exist, with no key, a wrong one, another tenant's, one without the scope, a revoked and an expired one. Each gets the documented refusal,
// and not one row of the database is another afterwards.
func TestEveryRouteRefusesEveryoneWhomItIsNotFor(t *testing.T) {
	t.Parallel()
	database := "sqlite://" + t.TempDir() + "/hub.db"
	asked := 0
	h := newHub(t, func(s *settings) {
		s.database = database
		s.sandbox = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			asked++
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"data":[]}`)
		})
	})
	_, foreign := h.tenant("foreign")
	message := h.text("919876543210", "stays as it is")
	bulk := decode[struct{ ID string }](h.do(request{path: "/api/algo/bulk", body: `{"message":"Hi","recipients":[{"to":"919876543211"}]}`}).want(http.StatusAccepted))
	h.do(request{path: "/api/algo/opt-outs", body: `{"recipients":["919876543210"]}`})
	revoked, expired := h.newKey(h.algo), gateway.NewKeySecret()
	keys, err := h.store.Keys(t.Context(), h.algo.Key)
	must(t, err)
	must(t, h.store.RevokeKey(t.Context(), h.algo.Key, keys[len(keys)-1].ID))
	must(t, h.store.CreateKey(t.Context(), gateway.APIKey{
		ID: "expired", TenantKey: h.algo.Key, Hash: gateway.HashKey(expired), ExpiresAt: time.Now().Add(-time.Second),
	}))
	without := map[string]string{}
	for _, scope := range []string{"send", "read", "manage"} {
		var others []string
		for _, other := range []string{"send", "read", "manage"} {
			if other != scope {
				others = append(others, other)
			}
		}
		without[scope] = h.newKey(h.algo, others...)
	}
	concrete := func(path string) string {
		path = strings.NewReplacer("{tenantId}", "algo", "/admin/tenants/{id}", "/admin/tenants/algo", "{keyId}", keys[0].ID, "/messages/{id}", "/messages/"+message.ID,
			"/bulk/{id}", "/bulk/"+bulk.ID, "/bulk/{bulkId}", "/bulk/"+bulk.ID, "{number}", "919876543210", "{recipient}", "919876543210").Replace(path)
		return regexp.MustCompile(`\{\w+\}`).ReplaceAllString(path, "x")
	}
	before := dump(t, database)
	if len(before) < 10 || !strings.Contains(before["messages"], "stays as it is") || !strings.Contains(before["api_keys"], "expired") {
		t.Fatalf("the dump has %d tables, and not what was made", len(before))
	}
	routes, refusals := describedRoutes(h), 0
	for _, r := range routes {
		if r.open {
			continue
		}
		type caller struct {
			who, key string
			status   int
			code     gateway.Code
		}
		callers := []caller{
			{"nobody", "none", http.StatusUnauthorized, gateway.CodeUnauthorized},
			{"a wrong key", "wah_guessed", http.StatusUnauthorized, gateway.CodeUnauthorized},
			{"another tenant's key", foreign, http.StatusForbidden, gateway.CodeForbidden},
			{"a revoked key", revoked, http.StatusUnauthorized, gateway.CodeUnauthorized},
			{"an expired key", expired, http.StatusUnauthorized, gateway.CodeUnauthorized},
		}
		switch {
		case r.admin:
			callers = append(callers, caller{"the tenant's own key", h.key, http.StatusForbidden, gateway.CodeForbidden})
		case without[r.scope] == "":
			t.Errorf("%s %s needs the scope %q, which no key can have", r.method, r.path, r.scope)
		default:
			callers = append(callers, caller{"a key without the scope", without[r.scope], http.StatusForbidden, gateway.CodeScopeMissing})
		}
		for _, c := range callers {
			for _, idempotent := range []bool{false, r.method == http.MethodPost} {
				header := map[string]string{}
				if idempotent {
					header["Idempotency-Key"] = "matrix"
				}
				got, err := h.send(t.Context(), request{method: r.method, path: concrete(r.path), key: c.key, body: r.body, header: header})
				if err != nil {
					t.Fatalf("%s %s by %s: %v", r.method, r.path, c.who, err)
				}
				if p := decode[problem](got); got.status != c.status || p.Code != c.code {
					t.Errorf("%s %s by %s: %d %s, want %d %s", r.method, r.path, c.who, got.status, p.Code, c.status, c.code)
				} else if c.code == gateway.CodeScopeMissing && !strings.Contains(p.Detail, r.scope) {
					t.Errorf("%s %s does not name the scope %s: %s", r.method, r.path, r.scope, p.Detail)
				}
				refusals++
			}
		}
		if after := dump(t, database); !same(before, after) {
			t.Fatalf("%s %s changed, though it was refused: %s", r.method, r.path, different(before, after))
		}
	}
	if refusals < 300 || asked > 0 {
		t.Errorf("%d refusals; the simulator was asked %d times", refusals, asked)
	}
	// The same dump does notice what is let through.
	h.do(request{path: "/api/algo/queue/pause", body: `{}`}).want(http.StatusOK)
	if same(before, dump(t, database)) {
		t.Error("the dump did not notice a change")
	}
}

// TestAKeyWithTheScopeIsLetThrough is the other half: nobody who may is refused.
func TestAKeyWithTheScopeIsLetThrough(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	with := map[string]string{}
	for _, scope := range []string{"send", "read", "manage"} {
		with[scope] = h.newKey(h.algo, scope)
	}
	for _, r := range describedRoutes(h) {
		if r.open || strings.HasPrefix(r.path, "/sandbox/") || strings.HasSuffix(r.path, "/events") && r.method == http.MethodGet || strings.HasSuffix(r.path, "stream") {
			continue // streams do not end
		}
		key, path := h.adminKey, regexp.MustCompile(`\{\w+\}`).ReplaceAllString(r.path, "nobody")
		if !r.admin {
			key, path = with[r.scope], regexp.MustCompile(`\{\w+\}`).ReplaceAllString(strings.Replace(r.path, "{tenantId}", "algo", 1), "nobody")
		}
		if strings.HasSuffix(path, "/session/connect") {
			continue // waits for a worker
		}
		body := ""
		if r.body != "" {
			body = "[" // no route takes it
		}
		got, err := h.send(t.Context(), request{method: r.method, path: path, key: key, body: body})
		if err != nil {
			t.Errorf("%s %s: %v", r.method, r.path, err)
		} else if got.status == http.StatusUnauthorized || got.status == http.StatusForbidden {
			t.Errorf("%s %s with the scope %s: %d %s", r.method, r.path, r.scope, got.status, got.body)
		}
	}
}

// dump is every row of every table, by table.
func dump(t *testing.T, database string) map[string]string {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+strings.TrimPrefix(database, "sqlite://")+"?mode=ro&_pragma=busy_timeout(30000)")
	must(t, err)
	defer func() { must(t, db.Close()) }()
	tables := map[string]string{}
	for _, name := range lines(t, db, `SELECT name FROM sqlite_schema WHERE type = 'table'`) {
		name = strings.Trim(name, `[]"`)
		rows := lines(t, db, `SELECT * FROM "`+name+`"`)
		slices.Sort(rows)
		tables[name] = strings.Join(rows, "\n")
	}
	return tables
}

// lines are the rows that a query finds, each as one text.
func lines(t *testing.T, db *sql.DB, query string) (all []string) {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), query)
	must(t, err)
	defer rows.Close()
	columns, err := rows.Columns()
	must(t, err)
	for rows.Next() {
		values, into := make([]any, len(columns)), make([]any, len(columns))
		for i := range values {
			into[i] = &values[i]
		}
		must(t, rows.Scan(into...))
		all = append(all, fmt.Sprintf("%q", values))
	}
	must(t, rows.Err())
	return all
}

func same(a, b map[string]string) bool { return different(a, b) == "" }

func different(a, b map[string]string) string {
	for name := range a {
		if a[name] != b[name] {
			return name
		}
	}
	if len(a) != len(b) {
		return "the tables"
	}
	return ""
}
