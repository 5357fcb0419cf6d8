package app

import (
	"context"
	"log/slog"
	"strconv"
	"sync"
	"time"
)

// Rooms that know a tenant by its key alone log it under tenantKeyAttr. What is printed is always tenantAttr with the id that people know, so that one
// search finds all that a tenant's log has.
const (
	tenantKeyAttr = "tenantKey"
	tenantAttr    = "tenant"
	lookupTime    = time.Second
)

// tenantNames are the ids of tenants by their keys, which never change.
type tenantNames struct {
	known  sync.Map                                             // int64 to string
	lookup func(ctx context.Context, key int64) (string, error) // set before anything logs of a tenant
}

// name is the id of a tenant; its key behind a # when it is gone, or the database does not answer.
func (n *tenantNames) name(ctx context.Context, key int64) string {
	if id, ok := n.known.Load(key); ok {
		return id.(string) //nolint:forcetypeassert // learn stores nothing else
	}
	if n.lookup != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookupTime)
		defer cancel()
		if id, err := n.lookup(ctx, key); err == nil && id != "" {
			n.learn(key, id)
			return id
		}
	}
	return "#" + strconv.FormatInt(key, 10)
}

func (n *tenantNames) learn(key int64, id string) { n.known.Store(key, id) }

// named is attr with the id of the tenant that it has the key of.
func (n *tenantNames) named(ctx context.Context, attr slog.Attr) slog.Attr {
	if attr.Key == tenantKeyAttr && attr.Value.Kind() == slog.KindInt64 {
		return slog.String(tenantAttr, n.name(ctx, attr.Value.Int64()))
	}
	return attr
}

// tenantLog prints keys of tenants as their ids.
type tenantLog struct {
	slog.Handler
	names *tenantNames
}

func (l tenantLog) Handle(ctx context.Context, line slog.Record) error {
	keyed := false
	line.Attrs(func(a slog.Attr) bool {
		keyed = a.Key == tenantKeyAttr
		return !keyed
	})
	if !keyed {
		return l.Handler.Handle(ctx, line)
	}
	named := slog.NewRecord(line.Time, line.Level, line.Message, line.PC)
	line.Attrs(func(a slog.Attr) bool {
		named.AddAttrs(l.names.named(ctx, a))
		return true
	})
	return l.Handler.Handle(ctx, named)
}

func (l tenantLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	named := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		named[i] = l.names.named(context.Background(), a)
	}
	return tenantLog{l.Handler.WithAttrs(named), l.names}
}

func (l tenantLog) WithGroup(name string) slog.Handler {
	return tenantLog{l.Handler.WithGroup(name), l.names}
}
