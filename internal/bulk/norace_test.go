//go:build !race

package bulk_test

import "github.com/wapro/hub/internal/gateway"

const manyRows = gateway.MaxBulkRows
