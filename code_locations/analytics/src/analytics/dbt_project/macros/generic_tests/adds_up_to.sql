{# Fails with the difference when a column does not add up to the rows of another relation: no flight lost, none twice. #}
{% test adds_up_to(model, column_name, to, where_to='true') %}
select *
from (
    select
        (select coalesce(sum({{ column_name }}), 0) from {{ model }}) as found,
        (select count(*) from {{ to }} where {{ where_to }}) as expected
) as totals
where found <> expected
{% endtest %}
