# Turns social_auth.conf.reference into the man page mod_social_auth(5).
function plain(text) {
    gsub(/\\/, "\\\\", text)
    gsub(/-/, "\\-", text)
    if (text ~ /^[.']/) {
        text = "\\&" text
    }
    return text
}
BEGIN {
    print ".TH MOD_SOCIAL_AUTH 5 \"\" \"mod_social_auth\" \"File Formats\""
    print ".SH NAME\nmod_social_auth \\- directives of the Apache httpd module for social sign\\-in"
    print ".SH DESCRIPTION"
}
NR == 1 { next }
/^#### / {
    title = $0
    gsub(/#/, "", title)
    gsub(/^ +| +$/, "", title)
    print ".SH " toupper(plain(title))
    next
}
/^# SocialAuth/ {
    name = $2
    rest = substr($0, 3 + length(name))
    printf ".TP\n.B %s\n.nf\n", plain(name rest)
    open = 1
    next
}
/^#SocialAuth/ { print "Example: " plain(substr($0, 2)); next }
/^#   / { print plain(substr($0, 5)); next }
/^# / { print plain(substr($0, 3)); next }
/^#$/ { print ".PP"; next }
/^$/ { if (open) { print ".fi"; open = 0 } }
END {
    if (open) {
        print ".fi"
    }
    print ".SH SEE ALSO\n.BR socialauthctl (8),\n.BR httpd (8)"
}
