// Package report shows what a run found: as lines on a terminal, as an HTML
// page, as the table of a README, and as the difference of two runs.
package report
